"""The lab: virtual machines under libvirt that mirror production on one computer."""

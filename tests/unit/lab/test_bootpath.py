"""What a lab's machine is told at its boot."""

from __future__ import annotations

import pytest

from lab.bootpath import kernel_arguments


@pytest.mark.parametrize("emulated", [False, True])
def test_nothing_has_a_machine_sleep(emulated: bool) -> None:
    """Words that read like a limit, and for which the initramfs of Debian or the kernel sleeps."""
    words = {word.partition("=")[0] for word in kernel_arguments(emulated=emulated).split()}
    assert words and not words & {"rootdelay", "resumedelay", "boot_delay"}

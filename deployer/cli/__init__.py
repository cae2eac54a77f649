"""The command line: one module a command or group; nothing else prints or exits."""

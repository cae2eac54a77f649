"""Password managers, one module each: pure command builders and parsers, and `fetch`."""

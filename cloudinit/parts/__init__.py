"""The parts of the recipe, one noun a file: each turns a profile into steps."""

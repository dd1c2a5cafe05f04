"""The project's own TFX components, one file each."""

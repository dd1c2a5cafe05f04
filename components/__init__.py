"""The project's own TFX components, one file each; what they share is in the folders."""

"""One study per YAML file, shipped as package data so that a bare name finds them anywhere."""

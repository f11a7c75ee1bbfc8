"""How long three answers of the bundled model take on a CPU, against an older checkout of this project."""

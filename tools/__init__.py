"""Hold programs that make or maintain a checkout; none is part of the package that travels to executors."""

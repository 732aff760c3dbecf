"""What the notebooks' set-up and exercises use."""

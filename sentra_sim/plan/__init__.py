"""What-ifs over many simulations."""

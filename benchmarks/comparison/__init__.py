"""What the benchmark scripts share: clips, the methods compared, rates, plots."""

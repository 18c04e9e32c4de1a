"""The aggregate `trust-bundle`: versioned sets of roots for relying parties."""

"""The aggregate `trust-bundle`: versioned sets of root certificates for relying parties."""

"""The key service: it makes key pairs, keeps the private halves, signs with them, and reports what it did."""

"""Networks in pure torch, one file each."""

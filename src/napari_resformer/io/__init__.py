"""Files in and out: what a file says of itself, its pixels when they are asked for, and writing whole or not at all."""

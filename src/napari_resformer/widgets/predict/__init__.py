"""The dock widget Segment & Classify."""

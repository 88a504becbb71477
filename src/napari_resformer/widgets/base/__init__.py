"""What both dock widgets share."""

"""Convert beats to the bytes of a link and back: one module per wire format."""

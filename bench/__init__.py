"""What the mesh costs: real calls through the real edge, beside empty handlers, in the same run."""

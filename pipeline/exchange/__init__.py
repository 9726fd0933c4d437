"""Label maps in the formats of labelling tools, and back: COCO, CVAT for images 1.1, Label Studio."""

"""Objects seen twice, in colour and hyperspectrally: their images, training on them, and what they are."""

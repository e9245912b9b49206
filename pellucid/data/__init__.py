"""Images, volumes, videos and data sets: detection of formats, reading, writing,
leak-free splits."""

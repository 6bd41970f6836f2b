"""A model behind a URL.

In: an address with its settings, and planes, which travel as PNGs or floats in requests.
Out: scores, one row for each image, whatever had to be tried again, and kept on disk on request.
"""

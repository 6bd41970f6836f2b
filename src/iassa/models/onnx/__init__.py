"""Models in ONNX files, on ONNX Runtime.

In: a file, what its user says about it, and planes in [0, 1].
Out: scores of a classifier, boxes of a detector, or feature maps for attention.
"""

"""Classifiers in the format of Hugging Face.

In: the name of a repository or a folder, and planes in [0, 1].
Out: scores and class names, as the model's own configuration has them.
"""

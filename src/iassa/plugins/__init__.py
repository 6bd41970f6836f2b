"""iassa inside of other libraries, each in the form that the library knows.

In: their calls, with a model and tensors.
Out: maps in the shape that they expect.
"""

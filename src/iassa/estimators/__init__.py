"""How much the score owes to each pixel.

In: masks, their scores (N, T) and the scores of the whole image, a batch at a time.
Out: a map (T, H, W) with its standard error, adjusted by attention where a method wants it.
"""

"""The equations of Vasu and Long (IASSA, WACV 2020), line by line in NumPy, as they are printed.

Arguments name what the paper leaves open, or what it prints and nobody can mean. All are float64
and build what they need whole: a mask for each window, the P x P matrix. Masks are 1 where a pixel
is kept. How a map is brought from one size to another is not in the paper, and is a function here.

    python tests/paper_equations.py

measures what docs/methods.md says of each deviation, on the bundled cat, in 4500 calls.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import spearmanr

import iassa
from iassa.image import resize as resize_planes
from iassa.image import to_planes
from iassa.masks.windows import sliding_windows
from iassa.models.features import extract


def window_masks(windows, size):
    """(N, H, W): each hides one box (top, left, bottom, right)."""
    masks = np.ones((len(windows), *size))
    for mask, (top, left, bottom, right) in zip(masks, windows, strict=True):
        mask[top:bottom, left:right] = 0
    return masks


def score(black_box, image, masks, fill):
    """f(I * M_i), where hidden pixels show a grey; the paper multiplies, so its fill is 0."""
    shown = masks[..., None] * image + (1 - masks[..., None]) * fill
    return np.concatenate(
        [black_box(shown[k : k + 64].astype(np.float32)) for k in range(0, len(masks), 64)]
    )


def saliency(scores, masks):
    """S of Eq. 5: the expectation of M is that of the masks themselves, at each pixel."""
    number = len(masks)
    expectation = masks.sum(axis=0) / number  # E[M], below Eq. 3
    total = np.einsum("i,ihw->hw", scores, masks)  # sum_i f(I * M_i) M_i(lambda)
    return total / (expectation * number)  # Eq. 5


def attention(levels, size, resize):
    """A of Eq. 10, (P, P), one softmax over the pixels that a pixel attends to."""
    phi = np.concatenate([resize(level, size) for level in levels])  # Eq. 9, (C, H, W)
    flat = phi.reshape(len(phi), -1).T  # Phi', (H W, C)
    affinity = flat @ flat.T  # Phi' Phi'^T
    powers = np.exp(affinity - affinity.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # Eq. 10


def adjusted(map_, matrix, beta, size, resize, sign=1):
    """S' of Eq. 6. Printed is sign -1: beta S + (beta - 1) A S."""
    values = resize(map_[None], size)[0].reshape(-1)
    attended = resize((matrix @ values).reshape(1, *size), map_.shape)[0]  # A x S
    return beta * map_ + sign * (1 - beta) * attended  # Eq. 6


def region(map_, threshold, *, share=True):
    """HAR of Eq. 8. Printed is a threshold in the units of the map: share False."""
    low, high = map_.min(), map_.max()
    return map_ > (low + threshold * (high - low) if share else threshold)  # Eq. 8


def next_windows(lattice, har):
    """Eq. 7, M_{k+1} = HAR(S'_k), read as: the windows that hide some of the region."""
    return [box for box in lattice.tolist() if har[box[0] : box[2], box[1] : box[3]].any()]


def resize(planes, size):
    """Planes (C, H, W) as the package brings them to another size."""
    return resize_planes(torch.from_numpy(np.ascontiguousarray(planes)), size).numpy()


def tell(what, ours, printed):
    """How alike two maps are: by order of the pixels, and by region."""
    rank = spearmanr(ours.ravel(), printed.ravel())[0]
    one, other = region(ours, 0.3), region(printed, 0.3)
    print(f"{what}: rank {rank:.2f}, region {(one & other).sum() / (one | other).sum():.2f}")


def main():
    """Two iterations on the cat by the default model, as we read the paper and as it is printed."""
    size, positions, beta = (224, 224), (56, 56), 0.5
    model = iassa.open_model("efficientnet-lite0", "cpu")
    planes = to_planes(iassa.example_image("cat"), size)
    image = planes.permute(1, 2, 0).numpy()
    top = int(np.argmax(model(image[None])[0]))

    def ask(masks, fill=0.5):
        return score(lambda images: model(images)[:, [top]], image, masks, fill)[:, 0]

    def windows_of(boxes):
        return window_masks(boxes, size).astype(np.float32)

    levels = [one.double().numpy() for one in extract("efficientnet-lite0", planes, 56 * 56)]
    matrix = attention(levels, positions, resize)
    first = windows_of(sliding_windows(size, 45, 8.0))
    scores = ask(first)
    start = saliency(scores, first)
    before = adjusted(start, matrix, beta, positions, resize)
    har = region(before, 0.3)
    absolute = region(before, 0.3, share=False)
    print(f"region: {har.mean():.2f} of the image, as printed {absolute.mean():.2f}")
    tell("fill 0", start, saliency(ask(first, 0.0), first))
    tell("windows that are kept", start, saliency(ask(1 - first), 1 - first))
    second = windows_of(next_windows(sliding_windows(size, 44, 7.8), har))
    more = ask(second)
    both = saliency(np.concatenate([scores, more]), np.concatenate([first, second]))
    ours = adjusted(both, matrix, beta, positions, resize)
    tell("no attention", ours, both)
    tell("beta - 1", ours, adjusted(both, matrix, beta, positions, resize, sign=-1))
    alone = adjusted(saliency(more, second), matrix, beta, positions, resize)
    tell("masks of one iteration", ours, alone)
    tell("softmax over columns", ours, adjusted(both, matrix.T, beta, positions, resize))


if __name__ == "__main__":
    main()

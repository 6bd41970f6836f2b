CREATE TABLE meta (
    name TEXT PRIMARY KEY,  -- 'configuration', 'created', 'last'
    value TEXT,             -- JSON
    checksum INTEGER        -- here and below: the CRC-32 of the table's name and the other values
                            -- as a JSON array, bytes by their number, then these bytes:
                            -- that of (1, 2.5, 'a', NULL, x'78797a') in a table t
                            -- is the CRC-32 of '["t", 1, 2.5, "a", null, 3]xyz'
);
CREATE TABLE image (        -- whose entries are all there
    name TEXT PRIMARY KEY,  -- file, relative to the folder of images
    digest TEXT,            -- SHA-256 of the file
    entries INTEGER,        -- how many it has
    checksum INTEGER
);
CREATE TABLE entry (        -- one target in one image
    key TEXT PRIMARY KEY,
    image TEXT,
    image_index INTEGER,    -- place of the image in the dataset
    height INTEGER,         -- of the image file
    width INTEGER,
    category TEXT,
    target TEXT,            -- name
    target_indices TEXT,    -- JSON: outputs of the black box that count
    target_weights TEXT,    -- JSON: and their weights
    score REAL,             -- of the target for the whole image
    annotated REAL,         -- share of the pixels, NULL without annotation
    excluded TEXT,          -- why, '' if it is not
    checksum INTEGER
);
CREATE TABLE item (         -- what one method made of one entry
    id INTEGER PRIMARY KEY, -- 1, 2, ... in the order in which they were finished
    entry TEXT,
    method TEXT,
    seed INTEGER,
    calls INTEGER,          -- of the explanations
    metric_calls INTEGER,
    seconds REAL,
    metric_seconds REAL,
    warnings TEXT,          -- JSON
    snapshots TEXT,         -- JSON: for each moment of the map (0, 1, ... in the tables below)
                            -- budget: calls allowed by then, null after a round
                            -- rounds, calls
                            -- relative_error: null where not known
                            -- saliency_error: largest error of the map as stored, in score units
                            -- metrics: values by name
                            -- curves: names
    evidence INTEGER,       -- bytes of it, NULL without
    finished TEXT,          -- ISO 8601, UTC
    checksum INTEGER,
    UNIQUE (entry, method, seed)
);
CREATE TABLE curve (
    item INTEGER,
    snapshot INTEGER,
    name TEXT,
    scores BLOB,            -- little-endian float64
    fractions BLOB,         -- likewise, as many
    checksum INTEGER,
    PRIMARY KEY (item, snapshot, name)
);
CREATE TABLE map (
    item INTEGER,
    snapshot INTEGER,
    content BLOB,           -- a .npz of NumPy; saliency = offset + scale * values
    checksum INTEGER,
    PRIMARY KEY (item, snapshot)
);
CREATE TABLE evidence (
    item INTEGER PRIMARY KEY,
    content BLOB,           -- a .npz of NumPy, see evidence.py
    checksum INTEGER
);
CREATE TABLE failure (      -- an item that could not be made, until it is
    entry TEXT,
    method TEXT,
    seed INTEGER,
    error TEXT,
    checksum INTEGER,
    PRIMARY KEY (entry, method, seed)
);
CREATE VIEW result AS
    SELECT
        i.entry, i.method, i.seed, s.key AS snapshot,
        json_extract(s.value, '$.budget') AS budget,
        json_extract(s.value, '$.rounds') AS rounds,
        json_extract(s.value, '$.calls') AS calls,
        m.key AS name, m.value AS value
    FROM item i, json_each(i.snapshots) s, json_each(s.value, '$.metrics') m;

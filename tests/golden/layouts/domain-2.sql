CREATE INDEX release_by_meaning ON release (plan_digest, policy_digest, snapshot, mode, epsilon)
CREATE INDEX release_by_source ON release (source_digest, policy_digest, snapshot, mode, epsilon)
CREATE INDEX release_open ON release (mode) WHERE mode = 'open'
CREATE INDEX said_cell_of ON said_cell (dataset)
CREATE INDEX said_row_of ON said_row (dataset, snapshot, quantity)
CREATE TABLE exact (dataset TEXT PRIMARY KEY, answers INTEGER NOT NULL CHECK (answers >= 0)) STRICT
CREATE TABLE forgotten (dataset TEXT PRIMARY KEY) STRICT
CREATE TABLE release ( id TEXT PRIMARY KEY, plan_digest TEXT NOT NULL, policy_digest TEXT NOT NULL, snapshot TEXT NOT NULL, mode TEXT NOT NULL, epsilon INTEGER NOT NULL, salt BLOB NOT NULL, hash TEXT NOT NULL, body BLOB NOT NULL, source_digest TEXT NOT NULL ) STRICT
CREATE TABLE said_cell ( dataset TEXT NOT NULL, snapshot TEXT NOT NULL, quantity TEXT NOT NULL, nonnegative INTEGER NOT NULL, counts INTEGER NOT NULL, release TEXT NOT NULL, part INTEGER NOT NULL, said INTEGER NOT NULL, secret INTEGER NOT NULL CHECK (said + secret <= 1), places BLOB NOT NULL ) STRICT
CREATE TABLE said_row ( dataset TEXT NOT NULL, snapshot TEXT NOT NULL, quantity TEXT NOT NULL, items BLOB NOT NULL, units BLOB NOT NULL, amounts BLOB NOT NULL ) STRICT
CREATE TABLE spent ( dataset TEXT NOT NULL, accountant TEXT NOT NULL, loss INTEGER NOT NULL, delta INTEGER NOT NULL, PRIMARY KEY (dataset, accountant) ) STRICT
CREATE TABLE tallied (mark INTEGER) STRICT
CREATE TABLE ticket ( id TEXT PRIMARY KEY, dataset TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('accepted', 'released', 'failed')), loss INTEGER NOT NULL CHECK (loss >= 0), delta INTEGER NOT NULL CHECK (delta >= 0), accountant TEXT NOT NULL, release TEXT, accepted_ms INTEGER NOT NULL ) STRICT
CREATE TRIGGER said_as_it_was BEFORE UPDATE ON said_cell BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END
CREATE TRIGGER said_row_as_it_was BEFORE UPDATE ON said_row BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END
CREATE TRIGGER said_row_stays BEFORE DELETE ON said_row BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END
CREATE TRIGGER said_stays BEFORE DELETE ON said_cell BEGIN SELECT RAISE(ABORT, 'what was said stays said'); END
CREATE TRIGGER spent_never_falls BEFORE UPDATE ON spent WHEN NEW.loss < OLD.loss OR NEW.delta < OLD.delta BEGIN SELECT RAISE(ABORT, 'spent never falls'); END
CREATE TRIGGER spent_never_goes BEFORE DELETE ON spent BEGIN SELECT RAISE(ABORT, 'spent never falls'); END

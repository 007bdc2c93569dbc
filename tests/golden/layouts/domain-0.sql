CREATE TABLE ticket ( id TEXT PRIMARY KEY, dataset TEXT NOT NULL, state TEXT NOT NULL CHECK (state IN ('accepted', 'released', 'failed')), loss INTEGER NOT NULL CHECK (loss >= 0), delta INTEGER NOT NULL CHECK (delta >= 0), accountant TEXT NOT NULL, release TEXT, accepted_ms INTEGER NOT NULL ) STRICT
CREATE TABLE spent ( dataset TEXT NOT NULL, accountant TEXT NOT NULL, loss INTEGER NOT NULL, delta INTEGER NOT NULL, PRIMARY KEY (dataset, accountant) ) STRICT
CREATE TRIGGER spent_never_falls BEFORE UPDATE ON spent WHEN NEW.loss < OLD.loss OR NEW.delta < OLD.delta BEGIN SELECT RAISE(ABORT, 'spent never falls'); END
CREATE TRIGGER spent_never_goes BEFORE DELETE ON spent BEGIN SELECT RAISE(ABORT, 'spent never falls'); END
CREATE TABLE release ( id TEXT PRIMARY KEY, plan_digest TEXT NOT NULL, policy_digest TEXT NOT NULL, snapshot TEXT NOT NULL, mode TEXT NOT NULL, epsilon INTEGER NOT NULL, salt BLOB NOT NULL, hash TEXT NOT NULL, body BLOB NOT NULL ) STRICT
CREATE INDEX release_by_meaning ON release (plan_digest, policy_digest, snapshot, mode, epsilon)

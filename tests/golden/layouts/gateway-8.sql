CREATE INDEX cells_of_operator ON cells (operator, dataset)
CREATE INDEX cosigned_size ON cosigned (size)
CREATE INDEX query_of_operator ON query (operator, place)
CREATE INDEX query_of_seat ON query (seat) WHERE state = 'running'
CREATE INDEX query_running ON query (state) WHERE state = 'running'
CREATE INDEX record_actor ON record (actor, seq)
CREATE INDEX record_kind ON record (kind, seq)
CREATE INDEX record_log_key ON record (seq) WHERE code = 'log_key'
CREATE INDEX record_query ON record (query, seq) WHERE query IS NOT NULL
CREATE TABLE cells ( query TEXT PRIMARY KEY REFERENCES query (id), operator TEXT NOT NULL, dataset TEXT NOT NULL, released INTEGER NOT NULL CHECK (released >= 0), withheld INTEGER NOT NULL CHECK (withheld >= 0) ) STRICT, WITHOUT ROWID
CREATE TABLE charge ( query TEXT NOT NULL REFERENCES query (id), scope TEXT NOT NULL REFERENCES scope (id), rho INTEGER NOT NULL CHECK (rho >= 0), epsilon INTEGER NOT NULL CHECK (epsilon >= 0), delta INTEGER NOT NULL CHECK (delta >= 0), PRIMARY KEY (query, scope), CHECK (rho > 0 OR epsilon > 0) ) STRICT, WITHOUT ROWID
CREATE TABLE cosigned (day TEXT PRIMARY KEY, size INTEGER NOT NULL CHECK (size > 0), note TEXT NOT NULL) STRICT, WITHOUT ROWID
CREATE TABLE declared (name TEXT PRIMARY KEY, said TEXT NOT NULL) STRICT, WITHOUT ROWID
CREATE TABLE handover (size INTEGER PRIMARY KEY CHECK (size > 0), note TEXT NOT NULL) STRICT
CREATE TABLE node ( level INTEGER NOT NULL CHECK (level BETWEEN 0 AND 62), place INTEGER NOT NULL CHECK (place >= 0), hash BLOB NOT NULL CHECK (length(hash) = 32), PRIMARY KEY (level, place) ) STRICT, WITHOUT ROWID
CREATE TABLE query ( place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, operator TEXT NOT NULL, key TEXT, request_hash TEXT NOT NULL, dataset TEXT NOT NULL, mode TEXT NOT NULL, policy_digest TEXT NOT NULL, snapshot TEXT NOT NULL, question TEXT NOT NULL, created INTEGER NOT NULL, rho INTEGER NOT NULL CHECK (rho >= 0), epsilon INTEGER NOT NULL CHECK (epsilon >= 0), delta INTEGER NOT NULL CHECK (delta >= 0), state TEXT NOT NULL CHECK (state IN ('running', 'answered', 'failed', 'cancelled')), reused INTEGER NOT NULL CHECK (reused IN (0, 1)), release TEXT, release_hash TEXT, record INTEGER NOT NULL, seat TEXT NOT NULL DEFAULT 'none', ticket TEXT, UNIQUE (operator, key), CHECK ((state = 'answered') = (release IS NOT NULL)), CHECK ((release IS NULL) = (release_hash IS NULL)) ) STRICT
CREATE TABLE record ( seq INTEGER PRIMARY KEY CHECK (seq >= 0), time TEXT NOT NULL, kind TEXT NOT NULL, actor TEXT, query TEXT, dataset TEXT, decision TEXT, code TEXT, body BLOB NOT NULL ) STRICT
CREATE TABLE revoked ( kind TEXT NOT NULL CHECK (kind IN ('token', 'subject')), name TEXT NOT NULL, until INTEGER NOT NULL CHECK (until >= 0), PRIMARY KEY (kind, name) ) STRICT, WITHOUT ROWID
CREATE TABLE scope ( id TEXT PRIMARY KEY, dataset TEXT NOT NULL, operator TEXT, accountant TEXT NOT NULL CHECK (accountant IN ('zcdp', 'pure')), cap_rho INTEGER NOT NULL CHECK (cap_rho >= 0), cap_epsilon INTEGER NOT NULL CHECK (cap_epsilon >= 0), cap_delta INTEGER NOT NULL CHECK (cap_delta >= 0), charged_rho INTEGER NOT NULL DEFAULT 0 CHECK (charged_rho >= 0), charged_epsilon INTEGER NOT NULL DEFAULT 0 CHECK (charged_epsilon >= 0), charged_delta INTEGER NOT NULL DEFAULT 0 CHECK (charged_delta >= 0) ) STRICT
CREATE TABLE seat ( id TEXT PRIMARY KEY, beat INTEGER NOT NULL CHECK (beat >= 0), lost INTEGER NOT NULL CHECK (lost IN (0, 1)) ) STRICT, WITHOUT ROWID
CREATE TABLE secret ( seq INTEGER NOT NULL REFERENCES record (seq), name TEXT NOT NULL, salt BLOB NOT NULL, text TEXT NOT NULL, PRIMARY KEY (seq, name) ) STRICT, WITHOUT ROWID
CREATE TRIGGER cells_no_delete BEFORE DELETE ON cells BEGIN SELECT RAISE(ABORT, 'cells rows stay'); END
CREATE TRIGGER cells_no_update BEFORE UPDATE ON cells BEGIN SELECT RAISE(ABORT, 'cells rows stay'); END
CREATE TRIGGER charge_no_delete BEFORE DELETE ON charge BEGIN SELECT RAISE(ABORT, 'charge rows stay'); END
CREATE TRIGGER charge_no_update BEFORE UPDATE ON charge BEGIN SELECT RAISE(ABORT, 'charge rows stay'); END
CREATE TRIGGER handover_no_delete BEFORE DELETE ON handover BEGIN SELECT RAISE(ABORT, 'handover rows stay'); END
CREATE TRIGGER handover_no_update BEFORE UPDATE ON handover BEGIN SELECT RAISE(ABORT, 'handover rows stay'); END
CREATE TRIGGER node_no_delete BEFORE DELETE ON node BEGIN SELECT RAISE(ABORT, 'node rows stay'); END
CREATE TRIGGER node_no_update BEFORE UPDATE ON node BEGIN SELECT RAISE(ABORT, 'node rows stay'); END
CREATE TRIGGER query_ends_once_or_is_erased BEFORE UPDATE ON query WHEN NOT (OLD.state <> 'running' AND NEW.question = '' AND NEW.request_hash = '' AND coalesce(NEW.key, '') = coalesce(OLD.key, '') AND coalesce(NEW.release, '') = coalesce(OLD.release, '') AND coalesce(NEW.release_hash, '') = coalesce(OLD.release_hash, '') AND NEW.id = OLD.id AND NEW.operator = OLD.operator AND NEW.dataset = OLD.dataset AND NEW.mode = OLD.mode AND NEW.policy_digest = OLD.policy_digest AND NEW.snapshot = OLD.snapshot AND NEW.state = OLD.state AND NEW.rho = OLD.rho AND NEW.epsilon = OLD.epsilon AND NEW.delta = OLD.delta AND NEW.reused = OLD.reused AND NEW.record = OLD.record AND NEW.created = OLD.created) AND (OLD.state <> 'running' OR NEW.state = 'running' OR NEW.id <> OLD.id OR NEW.operator <> OLD.operator OR coalesce(NEW.key, '') <> coalesce(OLD.key, '') OR NEW.request_hash <> OLD.request_hash OR NEW.rho <> OLD.rho OR NEW.epsilon <> OLD.epsilon OR NEW.delta <> OLD.delta OR NEW.reused <> OLD.reused OR NEW.dataset <> OLD.dataset OR NEW.question <> OLD.question OR NEW.created <> OLD.created) BEGIN SELECT RAISE(ABORT, 'a query ends once'); END
CREATE TRIGGER query_is_of_one_seat BEFORE UPDATE ON query WHEN NEW.seat <> OLD.seat OR coalesce(NEW.ticket, '') <> coalesce(OLD.ticket, '') BEGIN SELECT RAISE(ABORT, 'a query stays with its seat'); END
CREATE TRIGGER query_no_delete BEFORE DELETE ON query BEGIN SELECT RAISE(ABORT, 'query rows stay'); END
CREATE TRIGGER query_starts BEFORE INSERT ON query WHEN NOT (NEW.state = 'running' AND NEW.reused = 0 OR NEW.state = 'answered' AND NEW.reused = 1) BEGIN SELECT RAISE(ABORT, 'a query starts running, or answered by a stored release'); END
CREATE TRIGGER record_no_delete BEFORE DELETE ON record BEGIN SELECT RAISE(ABORT, 'record rows stay'); END
CREATE TRIGGER record_no_update BEFORE UPDATE ON record BEGIN SELECT RAISE(ABORT, 'record rows stay'); END
CREATE TRIGGER revoked_no_delete BEFORE DELETE ON revoked BEGIN SELECT RAISE(ABORT, 'revoked rows stay'); END
CREATE TRIGGER scope_no_delete BEFORE DELETE ON scope BEGIN SELECT RAISE(ABORT, 'scope rows stay'); END
CREATE TRIGGER scope_only_grows BEFORE UPDATE ON scope WHEN NEW.charged_rho < OLD.charged_rho OR NEW.charged_epsilon < OLD.charged_epsilon OR NEW.charged_delta < OLD.charged_delta OR NEW.id <> OLD.id OR NEW.accountant <> OLD.accountant OR NEW.dataset <> OLD.dataset OR coalesce(NEW.operator, '') <> coalesce(OLD.operator, '') BEGIN SELECT RAISE(ABORT, 'charges never fall'); END
CREATE TRIGGER scope_starts_empty BEFORE INSERT ON scope WHEN NEW.charged_rho <> 0 OR NEW.charged_epsilon <> 0 OR NEW.charged_delta <> 0 BEGIN SELECT RAISE(ABORT, 'a scope starts uncharged'); END
CREATE TRIGGER scope_within_cap BEFORE UPDATE ON scope WHEN (NEW.charged_rho > OLD.charged_rho OR NEW.charged_epsilon > OLD.charged_epsilon OR NEW.charged_delta > OLD.charged_delta) AND (NEW.charged_delta > NEW.cap_delta OR (NEW.accountant = 'zcdp' AND (NEW.charged_rho > NEW.cap_rho OR NEW.charged_epsilon > 0)) OR (NEW.accountant = 'pure' AND (NEW.charged_epsilon > NEW.cap_epsilon OR NEW.charged_rho > 0))) BEGIN SELECT RAISE(ABORT, 'the cap'); END
CREATE TRIGGER seat_is_lost_for_good BEFORE UPDATE ON seat WHEN OLD.lost = 1 OR NEW.beat < OLD.beat BEGIN SELECT RAISE(ABORT, 'a seat is lost for good'); END
CREATE TRIGGER seat_no_delete BEFORE DELETE ON seat BEGIN SELECT RAISE(ABORT, 'seat rows stay'); END
CREATE TRIGGER secret_no_update BEFORE UPDATE ON secret BEGIN SELECT RAISE(ABORT, 'secret rows stay'); END
CREATE UNIQUE INDEX record_one_charge ON record (query) WHERE kind = 'charge'
CREATE UNIQUE INDEX record_one_decision ON record (query) WHERE kind = 'decision' AND decision IN ('run', 'reused', 'refused')
CREATE UNIQUE INDEX record_one_outcome ON record (query) WHERE kind IN ('release', 'failure')

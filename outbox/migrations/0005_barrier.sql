-- What this database did for each branch of a global transaction. The row is inserted before anything of the branch happens, so
-- that of two that come at once one waits for the other.
CREATE TABLE {barrier} (
    id         {serial},
    global_id  {name} NOT NULL,
    branch     {name} NOT NULL,
    state      {name} NOT NULL,      -- tried, done (a step of a saga), refused, void (cancelled untried), confirmed, cancelled
    answer     {text},               -- why it was refused
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}barrier_branch {on barrier} (global_id, branch);
CREATE INDEX {index}barrier_updated {on barrier} (updated_at, id);

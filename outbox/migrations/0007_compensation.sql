-- Things that lack the counterpart which they should have. A row is written by the scan that found it so.
CREATE TABLE {compensation} (
    id              {serial},
    name            {name} NOT NULL,      -- of the compensation: what is looked for
    business_key    {name} NOT NULL,
    topic           {name} NOT NULL,      -- of the message that should have made the counterpart; empty when there is none
    content         {blob},               -- what the query told for the repair
    action          {name} NOT NULL,      -- how it is repaired
    result          {text},               -- what the last repair did, or how it ended
    status          {name} NOT NULL,      -- pending (open), done (resolved), exhausted, dropped
    attempts        BIGINT NOT NULL,      -- repairs, those that failed too
    next_attempt_at BIGINT NOT NULL,      -- when it is looked at again; while claimed: when the claim ends
    claimed_by      {name},
    last_error      {text},
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}compensation_key {on compensation} (name, business_key);
CREATE INDEX {index}compensation_due {on compensation} ({status,}name, next_attempt_at, id){where pending};
CREATE INDEX {index}compensation_exhausted {on compensation} ({status,}name, id){where exhausted};

-- How far each compensation has looked.
CREATE TABLE {compensation_scan} (
    id              {serial},
    name            {name} NOT NULL,
    reached         {name} NOT NULL,      -- where the next page begins, in the words of the query
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}compensation_scan_name {on compensation_scan} (name);

-- What other services have told that they handled.
CREATE TABLE {acknowledged} (
    id              {serial},
    consumer_group  {name} NOT NULL,
    business_key    {name} NOT NULL,
    created_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}acknowledged_key {on acknowledged} (consumer_group, business_key);

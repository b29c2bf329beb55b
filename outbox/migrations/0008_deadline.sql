-- Deadlines of things that end by themselves, such as unpaid orders. A row is written in the transaction of the thing.
CREATE TABLE {deadline} (
    id              {serial},
    topic           {name} NOT NULL,      -- the kind of deadline, and where its messages go
    business_key    {name} NOT NULL,      -- the thing that ends
    due_at          BIGINT NOT NULL,
    content         {blob} NOT NULL,      -- what the service wants to know then; may be empty
    announced_at    BIGINT,               -- the due time for which a delayed message was written; none: not yet
    outcome         {name},               -- expired: it was open; closed: it was not
    status          {name} NOT NULL,      -- pending, done (passed), exhausted, dropped (cancelled)
    attempts        BIGINT NOT NULL,      -- tries that have ended, the last failure's too
    next_attempt_at BIGINT NOT NULL,      -- when the keeper looks at it; while claimed: when the claim ends
    claimed_by      {name},
    last_error      {text},
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}deadline_key {on deadline} (topic, business_key);
CREATE INDEX {index}deadline_due {on deadline} ({status,}topic, next_attempt_at, id){where pending};
CREATE INDEX {index}deadline_exhausted {on deadline} ({status,}id){where exhausted};

-- Global transactions, TCC and sagas. A row is written in the transaction of whoever begins one, with its first commands.
CREATE TABLE {global} (
    id              {serial},
    global_id       {name} NOT NULL,      -- names it once and for all, in all services
    kind            {name} NOT NULL,      -- tcc, saga
    phase           {name} NOT NULL,      -- trying, confirming, cancelling, confirmed, cancelled
    reason          {text},               -- why it was cancelled
    topic           {name} NOT NULL,      -- where its branches answer
    content         {blob} NOT NULL,      -- what each branch is told
    branches        {text} NOT NULL,      -- a JSON list: name, topic and stage of each, in their order
    rounds          BIGINT NOT NULL,      -- of commands, ever
    status          {name} NOT NULL,      -- pending, done, exhausted, dropped
    attempts        BIGINT NOT NULL,      -- rounds of the commands that are not answered yet
    next_attempt_at BIGINT NOT NULL,      -- when a branch is too late, or commands are repeated
    claimed_by      {name},
    last_error      {text},
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}global_id {on global} (global_id);
CREATE INDEX {index}global_due {on global} ({status,}next_attempt_at, id){where pending};
CREATE INDEX {index}global_exhausted {on global} ({status,}id){where exhausted};

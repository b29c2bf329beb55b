-- Messages that were received. A row is written in the transaction of the message's effects.
CREATE TABLE {received} (
    id              {serial},
    consumer_group  {name} NOT NULL,
    business_key    {name} NOT NULL,
    topic           {name} NOT NULL,
    tag             {name},
    digest          BIGINT NOT NULL,      -- of topic and content: tells a copy from another message with the same key
    content         {blob},               -- kept once handling has failed, until it succeeds
    headers         {text} NOT NULL,      -- a JSON object of texts
    status          {name} NOT NULL,      -- pending, done, exhausted, dropped
    attempts        BIGINT NOT NULL,      -- tries that have ended, the last failure's too
    next_attempt_at BIGINT NOT NULL,      -- while claimed: when the claim ends
    claimed_by      {name},
    last_error      {text},
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}received_key {on received} (consumer_group, business_key);
CREATE INDEX {index}received_due {on received} ({status,}consumer_group, next_attempt_at, id){where pending};
CREATE INDEX {index}received_exhausted {on received} ({status,}id){where exhausted};

-- Notifications of somebody's HTTP endpoint. A row is written in the transaction that the notification tells of.
CREATE TABLE {notification} (
    id              {serial},
    receiver        {name} NOT NULL,      -- who is told; chooses the key of signatures
    business_type   {name} NOT NULL,      -- what kind of event; chooses the strategy
    business_id     {name} NOT NULL,      -- names the event once and for all; the receiver dedupes by it
    url             {text} NOT NULL,
    target          {name} NOT NULL,      -- host and port of the url: what has a circuit and limits of its own
    content_type    {name} NOT NULL,
    content         {blob} NOT NULL,
    status          {name} NOT NULL,      -- pending, done, exhausted, dropped
    attempts        BIGINT NOT NULL,      -- tries that have ended since it was written or re-sent, the last one too
    next_attempt_at BIGINT NOT NULL,      -- while claimed: when the claim ends
    claimed_by      {name},
    last_error      {text},
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL
);
CREATE UNIQUE INDEX {index}notification_business {on notification} (receiver, business_type, business_id);
CREATE INDEX {index}notification_due {on notification} ({status,}target, next_attempt_at, id){where pending};
CREATE INDEX {index}notification_receiver {on notification} (receiver, id);
CREATE INDEX {index}notification_exhausted {on notification} ({status,}id){where exhausted};

-- What happened to each: tries and what people decided, in the order of ids.
CREATE TABLE {notification_log} (
    id              {serial},
    task            BIGINT NOT NULL,
    event           {name} NOT NULL,      -- try, lost, resend, give_up
    attempt         BIGINT NOT NULL,      -- which try, from 1; 0 for decisions
    who             {name} NOT NULL,      -- the courier that tried, or the person who decided
    began_at        BIGINT NOT NULL,
    ended_at        BIGINT NOT NULL,
    code            BIGINT,               -- the HTTP status of the answer
    answer          {text},               -- how its body begins
    cause           {text}                -- why it is no success, or why it was decided so
);
CREATE INDEX {index}notification_log_task {on notification_log} (task, id);

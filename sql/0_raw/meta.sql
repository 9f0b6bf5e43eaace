-- meta: facts about this warehouse itself, such as the version of its layout.
-- grain:  key
-- reads:  none
-- yields:
--   key   VARCHAR schema_version, root (folder that the views point into) or headers
--   value VARCHAR as text
create table if not exists raw.meta (
    key varchar not null,
    value varchar not null
)

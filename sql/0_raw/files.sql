-- files: every file that a stage left, as it was when it was published.
-- grain:  run_id, path
-- reads:  none
-- yields:
--   run_id VARCHAR run
--   path   VARCHAR below the warehouse folder, with forward slashes
--   stage  VARCHAR stage that wrote it
--   bytes  BIGINT  size
--   sha256 VARCHAR checksum of the content, 64 hexadecimal digits
create table if not exists raw.files (
    run_id varchar not null,
    path varchar not null,
    stage varchar not null,
    bytes bigint not null check (bytes >= 0),
    sha256 varchar not null
)

-- The tables as the first published schema had them. Never edited: old homes look like this.
CREATE TABLE refused_object (
  refused_id INTEGER NOT NULL,
  at_utc FLOAT NOT NULL,
  calling_ae VARCHAR NOT NULL,
  called_ae VARCHAR NOT NULL,
  status INTEGER NOT NULL,
  text VARCHAR NOT NULL,
  PRIMARY KEY (refused_id)
);
CREATE TABLE schema_version (
  version INTEGER NOT NULL,
  PRIMARY KEY (version)
);
CREATE TABLE story (
  story_id INTEGER NOT NULL,
  study_key VARCHAR NOT NULL,
  at_utc FLOAT NOT NULL,
  room VARCHAR NOT NULL,
  event VARCHAR NOT NULL,
  reason VARCHAR NOT NULL,
  text VARCHAR NOT NULL,
  PRIMARY KEY (story_id)
);
CREATE INDEX story_study ON story (study_key);
CREATE TABLE study (
  study_key VARCHAR NOT NULL,
  study_instance_uid VARCHAR NOT NULL,
  state VARCHAR NOT NULL,
  hold_reason VARCHAR NOT NULL,
  first_received_utc FLOAT NOT NULL,
  last_received_utc FLOAT NOT NULL,
  deadline_utc FLOAT,
  ceiling_utc FLOAT NOT NULL,
  revision INTEGER NOT NULL,
  PRIMARY KEY (study_key),
  UNIQUE (study_instance_uid)
);
CREATE INDEX study_deadline ON study (deadline_utc);
CREATE TABLE instance (
  instance_id INTEGER NOT NULL,
  study_key VARCHAR NOT NULL,
  sop_instance_uid VARCHAR NOT NULL,
  sop_class_uid VARCHAR NOT NULL,
  series_instance_uid VARCHAR NOT NULL,
  transfer_syntax_uid VARCHAR NOT NULL,
  sha256 VARCHAR NOT NULL,
  size INTEGER NOT NULL,
  storage_key VARCHAR NOT NULL,
  facts JSON NOT NULL,
  state VARCHAR NOT NULL,
  calling_ae VARCHAR NOT NULL,
  called_ae VARCHAR NOT NULL,
  received_utc FLOAT NOT NULL,
  PRIMARY KEY (instance_id),
  FOREIGN KEY(study_key) REFERENCES study (study_key)
);
CREATE INDEX instance_sop ON instance (sop_instance_uid);
CREATE INDEX instance_study ON instance (study_key);
CREATE TABLE run (
  run_key VARCHAR NOT NULL,
  study_key VARCHAR NOT NULL,
  pipeline VARCHAR NOT NULL,
  rule VARCHAR NOT NULL,
  revision INTEGER NOT NULL,
  state VARCHAR NOT NULL,
  request JSON NOT NULL,
  summary JSON,
  requested_utc FLOAT NOT NULL,
  finished_utc FLOAT,
  crashes INTEGER NOT NULL,
  PRIMARY KEY (run_key),
  UNIQUE (study_key, pipeline, revision),
  FOREIGN KEY(study_key) REFERENCES study (study_key)
);
CREATE INDEX run_state ON run (state);
CREATE TABLE artifact (
  artifact_id VARCHAR NOT NULL,
  run_key VARCHAR NOT NULL,
  role VARCHAR NOT NULL,
  media_type VARCHAR NOT NULL,
  identifier VARCHAR NOT NULL,
  sop_class_uid VARCHAR NOT NULL,
  refusal BOOLEAN NOT NULL,
  storage_key VARCHAR NOT NULL,
  sha256 VARCHAR NOT NULL,
  PRIMARY KEY (artifact_id),
  UNIQUE (run_key, role),
  FOREIGN KEY(run_key) REFERENCES run (run_key)
);
CREATE INDEX artifact_identifier ON artifact (identifier);
CREATE TABLE delivery (
  delivery_id VARCHAR NOT NULL,
  artifact_id VARCHAR NOT NULL,
  run_key VARCHAR NOT NULL,
  study_key VARCHAR NOT NULL,
  destination VARCHAR NOT NULL,
  state VARCHAR NOT NULL,
  attempt INTEGER NOT NULL,
  planned_utc FLOAT NOT NULL,
  next_attempt_utc FLOAT,
  done_utc FLOAT,
  detail VARCHAR NOT NULL,
  PRIMARY KEY (delivery_id),
  UNIQUE (artifact_id, destination),
  FOREIGN KEY(artifact_id) REFERENCES artifact (artifact_id)
);
CREATE INDEX delivery_state ON delivery (state);
INSERT INTO schema_version VALUES (1);

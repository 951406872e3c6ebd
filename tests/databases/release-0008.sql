BEGIN TRANSACTION;
CREATE TABLE account (
        account_id INTEGER NOT NULL,
        name VARCHAR COLLATE "NOCASE" NOT NULL,
        password_hash VARCHAR NOT NULL,
        role VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        disabled_at VARCHAR,
        PRIMARY KEY (account_id),
        UNIQUE (name)
    );
INSERT INTO "account" VALUES(1,'ann','$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaA','supervisor','2026-05-04T08:00:01.000000+00:00',NULL);
CREATE TABLE audit (
        audit_id INTEGER NOT NULL,
        at VARCHAR NOT NULL,
        actor VARCHAR NOT NULL,
        action VARCHAR NOT NULL,
        subject VARCHAR NOT NULL,
        details VARCHAR NOT NULL,
        PRIMARY KEY (audit_id)
    );
INSERT INTO "audit" VALUES(1,'2026-05-04T08:00:10.000000+00:00','qcnode','create','worklist-item/1','{"case_id": "11", "state": "OPEN", "verdict": "FAIL"}');
INSERT INTO "audit" VALUES(2,'2026-05-04T08:00:11.000000+00:00','qcnode','create','worklist-item/2','{"case_id": "12", "state": "OPEN", "verdict": "REVIEW"}');
INSERT INTO "audit" VALUES(3,'2026-05-04T08:00:12.000000+00:00','qcnode','create','worklist-item/3','{"case_id": "13", "state": "OPEN", "verdict": "UNASSESSABLE"}');
INSERT INTO "audit" VALUES(4,'2026-05-04T08:00:13.000000+00:00','qcnode','create','worklist-item/4','{"case_id": "14", "state": "OPEN", "verdict": "FAIL"}');
INSERT INTO "audit" VALUES(5,'2026-05-04T08:00:14.000000+00:00','qcnode','create','worklist-item/5','{"case_id": "15", "state": "OPEN", "verdict": "FAIL"}');
INSERT INTO "audit" VALUES(6,'2026-05-04T08:00:01.000000+00:00','root','add-account','account/ann','{"role": "supervisor"}');
INSERT INTO "audit" VALUES(7,'2026-05-04T08:01:00.000000+00:00','ann','claim','worklist-item/1','{"case_id": "11", "verdict": "FAIL"}');
INSERT INTO "audit" VALUES(8,'2026-05-04T08:01:01.000000+00:00','ann','decide','worklist-item/1','{"case_id": "11", "comment": "apex", "decision": "REJECT", "rating": 2, "reasons": ["tissue missed"], "verdict": "FAIL"}');
INSERT INTO "audit" VALUES(9,'2026-05-04T08:01:02.000000+00:00','qcnode','finalise','worklist-item/1','{"case_id": "11", "verdict": "FAIL"}');
INSERT INTO "audit" VALUES(10,'2026-05-04T08:01:04.000000+00:00','qcnode','report-decision','worklist-item/1','{"case_id": "11", "sop_instance_uid": "2.25.77"}');
INSERT INTO "audit" VALUES(11,'2026-05-04T08:01:05.000000+00:00','ann','claim','worklist-item/2','{"case_id": "12", "verdict": "REVIEW"}');
INSERT INTO "audit" VALUES(12,'2026-05-04T08:01:06.000000+00:00','ann','decide','worklist-item/2','{"case_id": "12", "comment": "", "decision": "ACCEPT", "rating": null, "reasons": [], "verdict": "REVIEW"}');
INSERT INTO "audit" VALUES(13,'2026-05-04T08:01:07.000000+00:00','bob','claim','worklist-item/3','{"case_id": "13", "verdict": "UNASSESSABLE"}');
CREATE TABLE decision_report (
        case_id VARCHAR NOT NULL,
        number INTEGER NOT NULL,
        query_sop_instance_uid VARCHAR NOT NULL,
        decided_at VARCHAR NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        series_instance_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        PRIMARY KEY (case_id, number),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    );
INSERT INTO "decision_report" VALUES('11',1,'2.25.11','2026-05-04T08:01:01.000000+00:00','1.2.5','2.25.77','2.25.78','2.25.1','results/11/decision-1.dcm','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd');
CREATE TABLE delivery (
        delivery_id INTEGER NOT NULL,
        destination VARCHAR NOT NULL,
        case_id VARCHAR NOT NULL,
        kind VARCHAR NOT NULL,
        kind_order INTEGER NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        file_settled BOOLEAN NOT NULL,
        state VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at VARCHAR NOT NULL,
        owner VARCHAR,
        lease_until VARCHAR,
        last_error VARCHAR,
        delivered_at VARCHAR,
        PRIMARY KEY (delivery_id),
        CONSTRAINT delivery_once UNIQUE (destination, sop_instance_uid),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    );
INSERT INTO "delivery" VALUES(1,'pacs','11','summary',1,'1.2.2','2.25.31312','results/11/summary.dcm','abababababababababababababababababababababababababababababababab',1,'PENDING','2026-05-04T08:00:10.000000+00:00',1,'2026-05-04T08:15:00.000000+00:00',NULL,NULL,'timed out',NULL);
INSERT INTO "delivery" VALUES(2,'pacs','11','error_map',0,'1.2.1','2.25.31311','results/11/error_map.dcm','abababababababababababababababababababababababababababababababab',1,'DELIVERED','2026-05-04T08:00:10.000000+00:00',1,'2026-05-04T08:00:10.000000+00:00',NULL,NULL,NULL,'2026-05-04T08:00:31.000000+00:00');
INSERT INTO "delivery" VALUES(3,'pacs','11','report',2,'1.2.0','2.25.31310','results/11/report.dcm','digest-report',0,'PENDING','2026-05-04T08:00:10.000000+00:00',0,'2026-05-04T08:00:10.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(4,'pacs','12','summary',1,'1.2.2','2.25.31322','results/12/summary.dcm','digest-summary',0,'SENDING','2026-05-04T08:00:11.000000+00:00',1,'2026-05-04T08:00:11.000000+00:00','w','2026-05-04T08:15:40.000000+00:00',NULL,NULL);
INSERT INTO "delivery" VALUES(5,'pacs','12','error_map',0,'1.2.1','2.25.31321','results/12/error_map.dcm','abababababababababababababababababababababababababababababababab',1,'DEAD','2026-05-04T08:00:11.000000+00:00',1,'2026-05-04T08:00:11.000000+00:00',NULL,NULL,'refused with A900H',NULL);
INSERT INTO "delivery" VALUES(6,'pacs','12','report',2,'1.2.0','2.25.31320','results/12/report.dcm','digest-report',0,'PENDING','2026-05-04T08:00:11.000000+00:00',0,'2026-05-04T08:00:11.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(7,'pacs','13','summary',1,'1.2.2','2.25.31332','results/13/summary.dcm','digest-summary',0,'PENDING','2026-05-04T08:00:12.000000+00:00',0,'2026-05-04T08:00:12.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(8,'pacs','13','error_map',0,'1.2.1','2.25.31331','results/13/error_map.dcm','digest-error_map',0,'PENDING','2026-05-04T08:00:12.000000+00:00',0,'2026-05-04T08:00:12.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(9,'pacs','13','report',2,'1.2.0','2.25.31330','results/13/report.dcm','digest-report',0,'PENDING','2026-05-04T08:00:12.000000+00:00',0,'2026-05-04T08:00:12.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(10,'pacs','14','summary',1,'1.2.2','2.25.31342','results/14/summary.dcm','digest-summary',0,'PENDING','2026-05-04T08:00:13.000000+00:00',0,'2026-05-04T08:00:13.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(11,'pacs','14','error_map',0,'1.2.1','2.25.31341','results/14/error_map.dcm','digest-error_map',0,'PENDING','2026-05-04T08:00:13.000000+00:00',0,'2026-05-04T08:00:13.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(12,'pacs','14','report',2,'1.2.0','2.25.31340','results/14/report.dcm','digest-report',0,'PENDING','2026-05-04T08:00:13.000000+00:00',0,'2026-05-04T08:00:13.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(13,'pacs','15','summary',1,'1.2.2','2.25.31352','results/15/summary.dcm','digest-summary',0,'PENDING','2026-05-04T08:00:14.000000+00:00',0,'2026-05-04T08:00:14.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(14,'pacs','15','error_map',0,'1.2.1','2.25.31351','results/15/error_map.dcm','digest-error_map',0,'PENDING','2026-05-04T08:00:14.000000+00:00',0,'2026-05-04T08:00:14.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(15,'pacs','15','report',2,'1.2.0','2.25.31350','results/15/report.dcm','digest-report',0,'PENDING','2026-05-04T08:00:14.000000+00:00',0,'2026-05-04T08:00:14.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "delivery" VALUES(16,'pacs','11','decision',4,'1.2.5','2.25.77','results/11/decision-1.dcm','cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd',0,'PENDING','2026-05-04T08:01:04.000000+00:00',0,'2026-05-04T08:01:04.000000+00:00',NULL,NULL,NULL,NULL);
CREATE TABLE judged_case (
        case_id VARCHAR NOT NULL,
        query_sop_instance_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        task VARCHAR NOT NULL,
        content VARCHAR NOT NULL,
        predecessor_case_id VARCHAR,
        corrects_query_uid VARCHAR,
        state VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at VARCHAR NOT NULL,
        owner VARCHAR,
        lease_until VARCHAR,
        last_error VARCHAR,
        settled_at VARCHAR,
        verdict VARCHAR,
        predicted_dsc FLOAT,
        predicted_nsd FLOAT,
        tolerance_mm FLOAT,
        reasons VARCHAR,
        weights VARCHAR,
        device VARCHAR,
        result_directory VARCHAR, scanner VARCHAR, segmenter VARCHAR, patient_key VARCHAR,
        PRIMARY KEY (case_id)
    );
INSERT INTO "judged_case" VALUES('11','2.25.11','2.25.1','cardiac-sax','{"case_id": "11", "study_instance_uid": "2.25.1", "query": {"path": "/data/objects/query.dcm", "series_instance_uid": "2.25.8", "sop_instance_uid": "2.25.11"}, "task": "cardiac-sax", "contrasts": {"cine": {"series_instance_uid": "2.25.2", "frames": [{"path": "/data/objects/00.dcm", "sop_instance_uid": "2.25.100", "frame_number": 1}, {"path": "/data/objects/01.dcm", "sop_instance_uid": "2.25.101", "frame_number": 1}]}}, "reference_contrast": "cine", "completeness_evidence": "archive-count", "predecessor_case_id": null, "corrects_query_uid": null, "problem": null}',NULL,NULL,'DONE','2026-05-04T08:00:10.000000+00:00',1,'2026-05-04T08:00:10.000000+00:00','w',NULL,NULL,'2026-05-04T08:00:10.000000+00:00','FAIL',0.4,0.5,2.0,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]','{"name": "cardiac-sax", "version": "1", "sha256": "abababababababababababababababababababababababababababababababab"}','cpu','results/11','','','1f93603db53bfad5');
INSERT INTO "judged_case" VALUES('12','2.25.12','2.25.1','cardiac-sax','{"case_id": "12", "study_instance_uid": "2.25.1", "query": {"path": "/data/objects/query.dcm", "series_instance_uid": "2.25.8", "sop_instance_uid": "2.25.12"}, "task": "cardiac-sax", "contrasts": {"cine": {"series_instance_uid": "2.25.2", "frames": [{"path": "/data/objects/00.dcm", "sop_instance_uid": "2.25.100", "frame_number": 1}, {"path": "/data/objects/01.dcm", "sop_instance_uid": "2.25.101", "frame_number": 1}]}}, "reference_contrast": "cine", "completeness_evidence": "archive-count", "predecessor_case_id": null, "corrects_query_uid": null, "problem": null}',NULL,NULL,'DONE','2026-05-04T08:00:11.000000+00:00',1,'2026-05-04T08:00:11.000000+00:00','w',NULL,NULL,'2026-05-04T08:00:11.000000+00:00','REVIEW',0.7,0.5,2.0,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]','{"name": "cardiac-sax", "version": "1", "sha256": "abababababababababababababababababababababababababababababababab"}','cpu','results/12','','','1f93603db53bfad5');
INSERT INTO "judged_case" VALUES('13','2.25.13','2.25.1','cardiac-sax','{"case_id": "13", "study_instance_uid": "2.25.1", "query": {"path": "/data/objects/query.dcm", "series_instance_uid": "2.25.8", "sop_instance_uid": "2.25.13"}, "task": "cardiac-sax", "contrasts": {"cine": {"series_instance_uid": "2.25.2", "frames": [{"path": "/data/objects/00.dcm", "sop_instance_uid": "2.25.100", "frame_number": 1}, {"path": "/data/objects/01.dcm", "sop_instance_uid": "2.25.101", "frame_number": 1}]}}, "reference_contrast": "cine", "completeness_evidence": "archive-count", "predecessor_case_id": null, "corrects_query_uid": null, "problem": null}',NULL,NULL,'DONE','2026-05-04T08:00:12.000000+00:00',1,'2026-05-04T08:00:12.000000+00:00','w',NULL,NULL,'2026-05-04T08:00:12.000000+00:00','UNASSESSABLE',NULL,NULL,NULL,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]','{"name": "cardiac-sax", "version": "1", "sha256": "abababababababababababababababababababababababababababababababab"}',NULL,'results/13','','','1f93603db53bfad5');
INSERT INTO "judged_case" VALUES('14','2.25.14','2.25.1','cardiac-sax','{"case_id": "14", "study_instance_uid": "2.25.1", "query": {"path": "/data/objects/query.dcm", "series_instance_uid": "2.25.8", "sop_instance_uid": "2.25.14"}, "task": "cardiac-sax", "contrasts": {"cine": {"series_instance_uid": "2.25.2", "frames": [{"path": "/data/objects/00.dcm", "sop_instance_uid": "2.25.100", "frame_number": 1}, {"path": "/data/objects/01.dcm", "sop_instance_uid": "2.25.101", "frame_number": 1}]}}, "reference_contrast": "cine", "completeness_evidence": "archive-count", "predecessor_case_id": null, "corrects_query_uid": null, "problem": null}',NULL,NULL,'DONE','2026-05-04T08:00:13.000000+00:00',1,'2026-05-04T08:00:13.000000+00:00','w',NULL,NULL,'2026-05-04T08:00:13.000000+00:00','FAIL',0.2,0.5,2.0,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]','{"name": "cardiac-sax", "version": "1", "sha256": "abababababababababababababababababababababababababababababababab"}','cpu','results/14','','','1f93603db53bfad5');
INSERT INTO "judged_case" VALUES('15','2.25.15','2.25.1','cardiac-sax','{"case_id": "15", "study_instance_uid": "2.25.1", "query": {"path": "/data/objects/query.dcm", "series_instance_uid": "2.25.8", "sop_instance_uid": "2.25.15"}, "task": "cardiac-sax", "contrasts": {"cine": {"series_instance_uid": "2.25.2", "frames": [{"path": "/data/objects/00.dcm", "sop_instance_uid": "2.25.100", "frame_number": 1}, {"path": "/data/objects/01.dcm", "sop_instance_uid": "2.25.101", "frame_number": 1}]}}, "reference_contrast": "cine", "completeness_evidence": "archive-count", "predecessor_case_id": null, "corrects_query_uid": null, "problem": null}',NULL,NULL,'DONE','2026-05-04T08:00:14.000000+00:00',1,'2026-05-04T08:00:14.000000+00:00','w',NULL,NULL,'2026-05-04T08:00:14.000000+00:00','FAIL',0.3,0.5,2.0,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]','{"name": "cardiac-sax", "version": "1", "sha256": "abababababababababababababababababababababababababababababababab"}','cpu','results/15','','','1f93603db53bfad5');
INSERT INTO "judged_case" VALUES('16','2.25.16','2.25.1','cardiac-sax','{"case_id": "16", "study_instance_uid": "2.25.1", "query": {"path": "objects/query.dcm", "series_instance_uid": "2.25.8", "sop_instance_uid": "2.25.16"}, "task": "cardiac-sax", "contrasts": {"cine": {"series_instance_uid": "2.25.2", "frames": [{"path": "objects/00.dcm", "sop_instance_uid": "2.25.100", "frame_number": 1}, {"path": "objects/01.dcm", "sop_instance_uid": "2.25.101", "frame_number": 1}]}}, "reference_contrast": "cine", "completeness_evidence": "archive-count", "predecessor_case_id": null, "corrects_query_uid": null, "problem": null}',NULL,NULL,'PENDING','2026-05-04T08:00:20.000000+00:00',1,'2026-05-04T08:00:42.000000+00:00',NULL,NULL,'OSError at pixels.py:1',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
INSERT INTO "judged_case" VALUES('17','2.25.17','2.25.1','cardiac-sax','{"case_id": "17", "study_instance_uid": "2.25.1", "query": {"path": "objects/query.dcm", "series_instance_uid": "2.25.8", "sop_instance_uid": "2.25.17"}, "task": "cardiac-sax", "contrasts": {"cine": {"series_instance_uid": "2.25.2", "frames": [{"path": "objects/00.dcm", "sop_instance_uid": "2.25.100", "frame_number": 1}, {"path": "objects/01.dcm", "sop_instance_uid": "2.25.101", "frame_number": 1}]}}, "reference_contrast": "cine", "completeness_evidence": "archive-count", "predecessor_case_id": null, "corrects_query_uid": null, "problem": null}',NULL,NULL,'RUNNING','2026-05-04T08:00:21.000000+00:00',1,'2026-05-04T08:00:21.000000+00:00','w','2026-05-04T08:15:23.000000+00:00',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL);
CREATE TABLE migration (number INTEGER PRIMARY KEY, name VARCHAR NOT NULL UNIQUE);
INSERT INTO "migration" VALUES(1,'0001-first-tables');
INSERT INTO "migration" VALUES(2,'0002-intervals');
INSERT INTO "migration" VALUES(3,'0003-review');
INSERT INTO "migration" VALUES(4,'0004-decision-reports');
INSERT INTO "migration" VALUES(5,'0005-ups');
INSERT INTO "migration" VALUES(6,'0006-sampling');
INSERT INTO "migration" VALUES(7,'0007-readings');
INSERT INTO "migration" VALUES(8,'0008-notifications');
CREATE TABLE notice (
        notice_id INTEGER NOT NULL,
        channel VARCHAR NOT NULL,
        idempotency_key VARCHAR NOT NULL,
        event VARCHAR NOT NULL,
        content VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        created_at VARCHAR NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt_at VARCHAR NOT NULL,
        owner VARCHAR,
        lease_until VARCHAR,
        last_error VARCHAR,
        sent_at VARCHAR,
        PRIMARY KEY (notice_id),
        CONSTRAINT notice_once UNIQUE (channel, idempotency_key)
    );
INSERT INTO "notice" VALUES(1,'hook','key-1','flagged','{"item_id": 1}','SENT','2026-05-04T08:01:20.000000+00:00',1,'2026-05-04T08:01:20.000000+00:00',NULL,NULL,NULL,'2026-05-04T08:01:22.000000+00:00');
INSERT INTO "notice" VALUES(2,'hook','key-2','given-up','{"destination": "pacs"}','PENDING','2026-05-04T08:01:20.000000+00:00',0,'2026-05-04T08:01:20.000000+00:00',NULL,NULL,NULL,NULL);
CREATE TABLE query_segmentation (
        sop_instance_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        reason_code VARCHAR,
        reason_text VARCHAR,
        first_seen_at VARCHAR NOT NULL,
        changed_at VARCHAR NOT NULL,
        PRIMARY KEY (sop_instance_uid)
    );
INSERT INTO "query_segmentation" VALUES('2.25.50','2.25.1','WAITING','images-missing','2 of 10 images','2026-05-04T08:00:07.000000+00:00','2026-05-04T08:00:07.000000+00:00');
INSERT INTO "query_segmentation" VALUES('2.25.11','2.25.1','MATCHED',NULL,NULL,'2026-05-04T08:00:10.000000+00:00','2026-05-04T08:00:10.000000+00:00');
INSERT INTO "query_segmentation" VALUES('2.25.12','2.25.1','MATCHED',NULL,NULL,'2026-05-04T08:00:11.000000+00:00','2026-05-04T08:00:11.000000+00:00');
INSERT INTO "query_segmentation" VALUES('2.25.13','2.25.1','UNASSESSABLE','below-threshold','the predicted DSC is below the threshold','2026-05-04T08:00:12.000000+00:00','2026-05-04T08:00:12.000000+00:00');
INSERT INTO "query_segmentation" VALUES('2.25.14','2.25.1','MATCHED',NULL,NULL,'2026-05-04T08:00:13.000000+00:00','2026-05-04T08:00:13.000000+00:00');
INSERT INTO "query_segmentation" VALUES('2.25.15','2.25.1','MATCHED',NULL,NULL,'2026-05-04T08:00:14.000000+00:00','2026-05-04T08:00:14.000000+00:00');
INSERT INTO "query_segmentation" VALUES('2.25.16','2.25.1','MATCHED',NULL,NULL,'2026-05-04T08:00:20.000000+00:00','2026-05-04T08:00:20.000000+00:00');
INSERT INTO "query_segmentation" VALUES('2.25.17','2.25.1','MATCHED',NULL,NULL,'2026-05-04T08:00:21.000000+00:00','2026-05-04T08:00:21.000000+00:00');
CREATE TABLE reading (
        reading_id INTEGER NOT NULL,
        item_id INTEGER NOT NULL,
        stage VARCHAR NOT NULL,
        reader VARCHAR NOT NULL,
        decision VARCHAR NOT NULL,
        decision_reasons VARCHAR NOT NULL,
        comment VARCHAR,
        rating INTEGER,
        region_marks VARCHAR NOT NULL,
        because VARCHAR,
        decided_at VARCHAR NOT NULL,
        settles BOOLEAN NOT NULL,
        PRIMARY KEY (reading_id),
        FOREIGN KEY(item_id) REFERENCES worklist_item (item_id)
    );
INSERT INTO "reading" VALUES(1,1,'FIRST','ann','REJECT','["tissue missed"]','apex',2,'{}',NULL,'2026-05-04T08:01:01.000000+00:00',1);
CREATE TABLE result_object (
        case_id VARCHAR NOT NULL,
        kind VARCHAR NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        PRIMARY KEY (case_id, kind),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    );
INSERT INTO "result_object" VALUES('11','report','1.2.0','2.25.31310','results/11/report.dcm','digest-report');
INSERT INTO "result_object" VALUES('11','error_map','1.2.1','2.25.31311','results/11/error_map.dcm','digest-error_map');
INSERT INTO "result_object" VALUES('11','summary','1.2.2','2.25.31312','results/11/summary.dcm','digest-summary');
INSERT INTO "result_object" VALUES('12','report','1.2.0','2.25.31320','results/12/report.dcm','digest-report');
INSERT INTO "result_object" VALUES('12','error_map','1.2.1','2.25.31321','results/12/error_map.dcm','digest-error_map');
INSERT INTO "result_object" VALUES('12','summary','1.2.2','2.25.31322','results/12/summary.dcm','digest-summary');
INSERT INTO "result_object" VALUES('13','report','1.2.0','2.25.31330','results/13/report.dcm','digest-report');
INSERT INTO "result_object" VALUES('13','error_map','1.2.1','2.25.31331','results/13/error_map.dcm','digest-error_map');
INSERT INTO "result_object" VALUES('13','summary','1.2.2','2.25.31332','results/13/summary.dcm','digest-summary');
INSERT INTO "result_object" VALUES('14','report','1.2.0','2.25.31340','results/14/report.dcm','digest-report');
INSERT INTO "result_object" VALUES('14','error_map','1.2.1','2.25.31341','results/14/error_map.dcm','digest-error_map');
INSERT INTO "result_object" VALUES('14','summary','1.2.2','2.25.31342','results/14/summary.dcm','digest-summary');
INSERT INTO "result_object" VALUES('15','report','1.2.0','2.25.31350','results/15/report.dcm','digest-report');
INSERT INTO "result_object" VALUES('15','error_map','1.2.1','2.25.31351','results/15/error_map.dcm','digest-error_map');
INSERT INTO "result_object" VALUES('15','summary','1.2.2','2.25.31352','results/15/summary.dcm','digest-summary');
CREATE TABLE session (
        token_sha256 VARCHAR NOT NULL,
        account_id INTEGER NOT NULL,
        opened_at VARCHAR NOT NULL,
        last_seen_at VARCHAR NOT NULL,
        PRIMARY KEY (token_sha256),
        FOREIGN KEY(account_id) REFERENCES account (account_id)
    );
INSERT INTO "session" VALUES('8a336347cb5062868979989ae89a1909910e81324d6b00f5d448d4668351c49f',1,'2026-05-04T08:00:02.000000+00:00','2026-05-04T08:00:02.000000+00:00');
CREATE TABLE stored_object (
        object_id INTEGER NOT NULL,
        sop_instance_uid VARCHAR NOT NULL,
        sop_class_uid VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        series_instance_uid VARCHAR NOT NULL,
        transfer_syntax_uid VARCHAR NOT NULL,
        dataset_sha256 VARCHAR NOT NULL,
        sha256 VARCHAR NOT NULL,
        path VARCHAR NOT NULL,
        size INTEGER NOT NULL,
        calling_ae_title VARCHAR NOT NULL,
        peer_address VARCHAR NOT NULL,
        received_at VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        kind VARCHAR,
        header VARCHAR,
        unreadable_reason VARCHAR,
        variant_of INTEGER,
        variant_state VARCHAR,
        conflicting BOOLEAN NOT NULL,
        purged_at VARCHAR,
        PRIMARY KEY (object_id),
        FOREIGN KEY(variant_of) REFERENCES stored_object (object_id)
    );
INSERT INTO "stored_object" VALUES(1,'2.25.100','1.2.840.10008.5.1.4.1.1.4','2.25.1','2.25.2','1.2.840.10008.1.2.1','e3871230cb290ba988685903a5da2574e7b83577ff327608638c0b97e1096dee','0e147258db63a15251a10fa0c77974f1b7221dcef966a7f15719fd98c6fa6023','objects/0e/147258db63a15251a10fa0c77974f1b7221dcef966a7f15719fd98c6fa6023.dcm',382,'PACS','127.0.0.1','2026-05-04T08:00:00.000000+00:00','INDEXED','image','{"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4", "sop_instance_uid": "2.25.100", "study_instance_uid": "2.25.1", "series_instance_uid": "2.25.2", "kind": "image", "modality": "", "frame_of_reference_uid": null, "series_description": "", "series_number": null, "instance_number": null, "image_type": [], "rows": 0, "columns": 0, "contrast_agent": "", "frames": [], "segments": [], "segmentation_type": "", "referenced_series": [], "referenced_instances": [], "manufacturer": "", "device_model": "", "software_versions": "", "predecessor_uids": [], "content_datetime": "", "referenced_sop_classes": []}',NULL,NULL,NULL,0,NULL);
INSERT INTO "stored_object" VALUES(2,'2.25.101','1.2.840.10008.5.1.4.1.1.4','2.25.1','2.25.2','1.2.840.10008.1.2.1','4a6a3dce573c1d603a6fe789f71652e9e8394b681184d11afd1a879ddd0752ba','8f99919e72f1679260fb4b58a1e16d66c847708d2588ea4f9c15257c804df249','objects/8f/99919e72f1679260fb4b58a1e16d66c847708d2588ea4f9c15257c804df249.dcm',382,'PACS','127.0.0.1','2026-05-04T08:00:01.000000+00:00','INDEXED','image','{"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4", "sop_instance_uid": "2.25.101", "study_instance_uid": "2.25.1", "series_instance_uid": "2.25.2", "kind": "image", "modality": "", "frame_of_reference_uid": null, "series_description": "", "series_number": null, "instance_number": null, "image_type": [], "rows": 0, "columns": 0, "contrast_agent": "", "frames": [], "segments": [], "segmentation_type": "", "referenced_series": [], "referenced_instances": [], "manufacturer": "", "device_model": "", "software_versions": "", "predecessor_uids": [], "content_datetime": "", "referenced_sop_classes": []}',NULL,NULL,NULL,1,NULL);
INSERT INTO "stored_object" VALUES(3,'2.25.101','1.2.840.10008.5.1.4.1.1.4','2.25.1','2.25.2','1.2.840.10008.1.2.1','efeca1e4ad98dedf706aa52130807397dc4fdfb8e08f359480a0180190bc3b32','5b45703a499d426571085bf2a53a7a3a4b3c2406363b70674f0495b36e549aa3','objects/5b/45703a499d426571085bf2a53a7a3a4b3c2406363b70674f0495b36e549aa3.dcm',392,'PACS','127.0.0.1','2026-05-04T08:00:02.000000+00:00','RECEIVED',NULL,NULL,NULL,2,'CONFLICT',0,NULL);
INSERT INTO "stored_object" VALUES(4,'2.25.102','1.2.840.10008.5.1.4.1.1.4','2.25.1','2.25.2','1.2.840.10008.1.2.1','27d26b32c2a5ed21e7859c98879373f2d3e525ec2540d7322601950b88b3aefb','5223bef492e32c58f878d9c04a20ea0a0d1e36a367d0cfa1bda8efc2fb214982','objects/52/23bef492e32c58f878d9c04a20ea0a0d1e36a367d0cfa1bda8efc2fb214982.dcm',382,'PACS','127.0.0.1','2026-05-04T08:00:03.000000+00:00','UNREADABLE',NULL,NULL,'no file meta',NULL,NULL,0,NULL);
INSERT INTO "stored_object" VALUES(5,'2.25.103','1.2.840.10008.5.1.4.1.1.4','2.25.7','2.25.2','1.2.840.10008.1.2.1','b78422821e7017dd0e67b817e32285af77cba5b107d3a0042b0c94eefa3708bd','31c03e05315a3f42387e9960a959a8224934136661456dd3ae8d6cc3c9013ae9','objects/31/c03e05315a3f42387e9960a959a8224934136661456dd3ae8d6cc3c9013ae9.dcm',382,'PACS','127.0.0.1','2026-05-04T08:00:04.000000+00:00','INDEXED','other','{"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4", "sop_instance_uid": "2.25.103", "study_instance_uid": "2.25.7", "series_instance_uid": "2.25.2", "kind": "other", "modality": "", "frame_of_reference_uid": null, "series_description": "", "series_number": null, "instance_number": null, "image_type": [], "rows": 0, "columns": 0, "contrast_agent": "", "frames": [], "segments": [], "segmentation_type": "", "referenced_series": [], "referenced_instances": [], "manufacturer": "", "device_model": "", "software_versions": "", "predecessor_uids": [], "content_datetime": "", "referenced_sop_classes": []}',NULL,NULL,NULL,0,'2026-05-04T08:00:06.000000+00:00');
CREATE TABLE study (
        study_instance_uid VARCHAR NOT NULL,
        last_received_at VARCHAR NOT NULL,
        matched_at VARCHAR,
        PRIMARY KEY (study_instance_uid)
    );
INSERT INTO "study" VALUES('2.25.1','2026-05-04T08:00:03.000001+00:00',NULL);
INSERT INTO "study" VALUES('2.25.7','2026-05-04T08:00:04.000000+00:00','2026-05-04T08:00:04.000000+00:00');
CREATE TABLE ups_step (
        sop_instance_uid VARCHAR NOT NULL,
        item_id INTEGER NOT NULL,
        number INTEGER NOT NULL,
        state VARCHAR NOT NULL,
        transaction_uid VARCHAR,
        ae_title VARCHAR,
        reader VARCHAR,
        claimed_at VARCHAR,
        decided_at VARCHAR,
        created_at VARCHAR NOT NULL,
        changed_at VARCHAR NOT NULL,
        begun_at VARCHAR,
        ended_at VARCHAR,
        performed VARCHAR,
        reason VARCHAR,
        PRIMARY KEY (sop_instance_uid),
        UNIQUE (item_id, number),
        FOREIGN KEY(item_id) REFERENCES worklist_item (item_id)
    );
INSERT INTO "ups_step" VALUES('2.25.91177788161011',1,1,'COMPLETED','2.25.313533680122301379267570345448762065524',NULL,'ann','2026-05-04T08:01:00.000000+00:00','2026-05-04T08:01:01.000000+00:00','2026-05-04T08:00:50.000000+00:00','2026-05-04T08:01:10.000000+00:00','2026-05-04T08:01:10.000000+00:00','2026-05-04T08:01:10.000000+00:00',NULL,NULL);
INSERT INTO "ups_step" VALUES('2.25.91177788161112',2,1,'IN PROGRESS','2.25.175925964190862069791513332192008702680',NULL,'ann','2026-05-04T08:01:05.000000+00:00','2026-05-04T08:01:06.000000+00:00','2026-05-04T08:00:50.000000+00:00','2026-05-04T08:01:10.000000+00:00','2026-05-04T08:01:10.000000+00:00',NULL,NULL,NULL);
INSERT INTO "ups_step" VALUES('2.25.91177788161213',3,1,'IN PROGRESS','2.25.31916657860833059520696838716297065934',NULL,'bob','2026-05-04T08:01:07.000000+00:00',NULL,'2026-05-04T08:00:50.000000+00:00','2026-05-04T08:01:10.000000+00:00','2026-05-04T08:01:10.000000+00:00',NULL,NULL,NULL);
INSERT INTO "ups_step" VALUES('2.25.91177788161314',4,1,'SCHEDULED',NULL,NULL,NULL,NULL,NULL,'2026-05-04T08:00:50.000000+00:00','2026-05-04T08:00:50.000000+00:00',NULL,NULL,NULL,NULL);
INSERT INTO "ups_step" VALUES('2.25.91177788161415',5,1,'SCHEDULED',NULL,NULL,NULL,NULL,NULL,'2026-05-04T08:00:50.000000+00:00','2026-05-04T08:00:50.000000+00:00',NULL,NULL,NULL,NULL);
CREATE TABLE worklist_item (
        item_id INTEGER NOT NULL,
        case_id VARCHAR NOT NULL,
        study_instance_uid VARCHAR NOT NULL,
        query_series_instance_uid VARCHAR NOT NULL,
        query_sop_instance_uid VARCHAR NOT NULL,
        task VARCHAR NOT NULL,
        patient_name VARCHAR NOT NULL,
        patient_id VARCHAR NOT NULL,
        accession_number VARCHAR NOT NULL,
        study_date VARCHAR NOT NULL,
        verdict VARCHAR NOT NULL,
        predicted_dsc FLOAT,
        predicted_nsd FLOAT,
        reasons VARCHAR NOT NULL,
        preview_path VARCHAR,
        created_at VARCHAR NOT NULL,
        state VARCHAR NOT NULL,
        reader VARCHAR,
        claimed_at VARCHAR,
        decision VARCHAR,
        comment VARCHAR,
        decided_at VARCHAR,
        superseded_by_case_id VARCHAR, dsc_low FLOAT, dsc_high FLOAT, nsd_low FLOAT, nsd_high FLOAT, interval_level FLOAT, birth_date VARCHAR NOT NULL DEFAULT '', institution VARCHAR NOT NULL DEFAULT '', scanner VARCHAR NOT NULL DEFAULT '', segmenter VARCHAR NOT NULL DEFAULT '', person_words VARCHAR NOT NULL DEFAULT '', blind BOOLEAN NOT NULL DEFAULT 0, viewer_path VARCHAR, rank FLOAT NOT NULL DEFAULT 0, lease_until VARCHAR, held_until VARCHAR, rating INTEGER, decision_reasons VARCHAR NOT NULL DEFAULT '[]', passed_on_at VARCHAR, sampling_probability FLOAT NOT NULL DEFAULT '1', stage VARCHAR NOT NULL DEFAULT 'FIRST', read_twice BOOLEAN NOT NULL DEFAULT 0, region_marks VARCHAR NOT NULL DEFAULT '{}', because VARCHAR,
        PRIMARY KEY (item_id),
        UNIQUE (case_id),
        FOREIGN KEY(case_id) REFERENCES judged_case (case_id)
    );
INSERT INTO "worklist_item" VALUES(1,'11','2.25.1','2.25.8','2.25.11','cardiac-sax','TEST^ONLY','T1','A1','20260504','FAIL',0.4,0.5,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]',NULL,'2026-05-04T08:00:10.000000+00:00','DECIDED','ann','2026-05-04T08:01:00.000000+00:00','REJECT','apex','2026-05-04T08:01:01.000000+00:00',NULL,NULL,NULL,NULL,NULL,NULL,'','','','','test only t1 a1',0,NULL,0.4,NULL,NULL,2,'["tissue missed"]',NULL,1.0,'FIRST',0,'{}',NULL);
INSERT INTO "worklist_item" VALUES(2,'12','2.25.1','2.25.8','2.25.12','cardiac-sax','TEST^ONLY','T1','A1','20260504','REVIEW',0.7,0.5,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]',NULL,'2026-05-04T08:00:11.000000+00:00','HELD','ann','2026-05-04T08:01:05.000000+00:00','ACCEPT','','2026-05-04T08:01:06.000000+00:00',NULL,NULL,NULL,NULL,NULL,NULL,'','','','','test only t1 a1',0,NULL,3.7,NULL,'2026-05-04T08:06:06.000000+00:00',NULL,'[]',NULL,1.0,'FIRST',0,'{}',NULL);
INSERT INTO "worklist_item" VALUES(3,'13','2.25.1','2.25.8','2.25.13','cardiac-sax','TEST^ONLY','T1','A1','20260504','UNASSESSABLE',NULL,NULL,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]',NULL,'2026-05-04T08:00:12.000000+00:00','CLAIMED','bob','2026-05-04T08:01:07.000000+00:00',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'','','','','test only t1 a1',0,NULL,-1.0,'2026-05-04T08:16:07.000000+00:00',NULL,NULL,'[]',NULL,1.0,'FIRST',0,'{}',NULL);
INSERT INTO "worklist_item" VALUES(4,'14','2.25.1','2.25.8','2.25.14','cardiac-sax','TEST^ONLY','T1','A1','20260504','FAIL',0.2,0.5,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]',NULL,'2026-05-04T08:00:13.000000+00:00','OPEN',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'','','','','test only t1 a1',0,NULL,0.2,NULL,NULL,NULL,'[]',NULL,1.0,'FIRST',0,'{}',NULL);
INSERT INTO "worklist_item" VALUES(5,'15','2.25.1','2.25.8','2.25.15','cardiac-sax','TEST^ONLY','T1','A1','20260504','FAIL',0.3,0.5,'[{"code": "below-threshold", "text": "the predicted DSC is below the threshold"}]',NULL,'2026-05-04T08:00:14.000000+00:00','OPEN',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'','','','','test only t1 a1',0,NULL,0.3,NULL,NULL,NULL,'[]',NULL,1.0,'FIRST',0,'{}',NULL);
CREATE INDEX audit_by_subject ON audit (subject);
CREATE INDEX case_by_correction ON judged_case (corrects_query_uid);
CREATE INDEX case_by_query ON judged_case (query_sop_instance_uid);
CREATE INDEX case_by_state ON judged_case (state, next_attempt_at);
CREATE INDEX query_by_state ON query_segmentation (state);
CREATE UNIQUE INDEX object_by_content ON stored_object (sop_instance_uid, dataset_sha256);
CREATE INDEX object_by_file ON stored_object (sha256);
CREATE INDEX object_by_state ON stored_object (state);
CREATE INDEX object_by_study ON stored_object (study_instance_uid);
CREATE UNIQUE INDEX object_in_use ON stored_object (sop_instance_uid) WHERE purged_at IS NULL AND variant_of IS NULL;
CREATE INDEX delivery_by_case ON delivery (case_id);
CREATE INDEX delivery_by_state ON delivery (destination, state, next_attempt_at);
CREATE INDEX item_by_query ON worklist_item (query_sop_instance_uid);
CREATE TRIGGER audit_never_changed BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END;
CREATE TRIGGER audit_never_deleted BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'the audit table is append-only'); END;
CREATE INDEX item_by_decision ON worklist_item (decided_at);
CREATE INDEX item_to_pass_on ON worklist_item (state, decided_at) WHERE passed_on_at IS NULL;
CREATE INDEX case_by_settling ON judged_case (settled_at, verdict);
CREATE INDEX session_by_account ON session (account_id);
CREATE INDEX decision_report_by_query ON decision_report (query_sop_instance_uid, decided_at);
CREATE UNIQUE INDEX ups_step_alive ON ups_step (item_id) WHERE state IN ('SCHEDULED', 'IN PROGRESS');
CREATE INDEX ups_step_by_state ON ups_step (state);
CREATE INDEX item_to_find ON worklist_item (state, rank, created_at, verdict, task, institution, scanner, segmenter, reader, lease_until, blind, person_words, stage);
CREATE INDEX reading_by_item ON reading (item_id, reader);
CREATE INDEX reading_by_time ON reading (stage, decided_at);
CREATE INDEX notice_by_state ON notice (channel, state, next_attempt_at);
COMMIT;

"""A store that speaks S3, with one user whose signature it checks: what a line of standard output says.

It ends with standard input. A page of a list has two keys.
"""

import json
import os
import sys

os.environ["MOTO_S3_DEFAULT_MAX_KEYS"] = "2"

import boto3
from moto import settings
from moto.core.responses import ActionAuthenticatorMixin
from moto.server import ThreadedMotoServer

ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
OBJECTS = {
    "in/2026/a.csv": "n,name\n1,ann\n2,ben\n",
    "in/2026/b c.csv": "n,name\n3,cara\n",
    "in/2026/d.csv": "n,name\n4,dan\n",
    "in/2026/notes.txt": "not a table",
    "in/2025/old.csv": "n,name\n9,old\n",
}

server = ThreadedMotoServer("127.0.0.1", port=0)
sys.stdout, out = sys.stderr, sys.stdout
server.start()
host, port = server.get_host_and_port()
endpoint = f"http://{host}:{port}"


def client(service, key="setup", secret="setup"):
    return boto3.client(
        service, endpoint_url=endpoint, region_name="eu-west-1", aws_access_key_id=key, aws_secret_access_key=secret
    )


iam = client("iam")
iam.create_user(UserName="ann")
iam.put_user_policy(UserName="ann", PolicyName="all", PolicyDocument=json.dumps(ALL))
made = iam.create_access_key(UserName="ann")["AccessKey"]
s3 = client("s3")
for bucket in ("logs", "lake"):
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
for key, body in OBJECTS.items():
    s3.put_object(Bucket="logs", Key=key, Body=body.encode())
# From here on, who asks must be ann.
settings.INITIAL_NO_AUTH_ACTION_COUNT = ActionAuthenticatorMixin.request_count = 0
print(json.dumps({"endpoint": endpoint, "key": made["AccessKeyId"], "secret": made["SecretAccessKey"]}), file=out, flush=True)

# Each line asks what the bucket `lake` holds.
theirs = client("s3", made["AccessKeyId"], made["SecretAccessKey"])
for _ in sys.stdin:
    found = [entry for page in theirs.get_paginator("list_objects_v2").paginate(Bucket="lake") for entry in page.get("Contents", ())]
    print(json.dumps({entry["Key"]: entry["ETag"] for entry in found}), file=out, flush=True)

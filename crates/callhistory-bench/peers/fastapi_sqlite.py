# FastAPI over the database file of callhistory, read only, without keys and without a log.
#
#     pip install fastapi 'uvicorn[standard]'
#     DB=callhistory.db uvicorn fastapi_sqlite:app --workers 2 --no-access-log --port 7802

import os, sqlite3
from fastapi import FastAPI, Header, Response

db = sqlite3.connect(f"file:{os.environ['DB']}?mode=ro", uri=True, check_same_thread=False)
app = FastAPI()

@app.get("/v2/api/call-history/{id}")
async def get_call(id: str, x_workspace_id: str = Header()):
    row = db.execute("SELECT body FROM call WHERE workspace_id = ? AND id = ?", (x_workspace_id, id)).fetchone()
    return Response(row[0], media_type="application/json") if row else Response(status_code=404)

@app.get("/v2/api/call-history")
async def list_calls(x_workspace_id: str = Header()):
    rows = db.execute("SELECT body FROM call WHERE workspace_id = ? ORDER BY sort_time DESC, id DESC LIMIT 50", (x_workspace_id,))
    return Response(b"[" + b",".join(row[0] for row in rows) + b"]", media_type="application/json")

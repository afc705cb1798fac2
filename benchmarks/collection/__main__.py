from pathlib import Path
import sys, time
from collection.recordings import COLLECTION, make
for r in COLLECTION:
    t=time.time()
    try:
        make(r, Path(sys.argv[1]))
    except Exception as e: print(r.name, repr(e))
    print(r.name, round(time.time()-t,1), flush=True)

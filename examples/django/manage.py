"""Reports that are written in the background of a Django application; the tasks are in reports/views.py.

python manage.py runserver                                (or: gunicorn -w 4 project.wsgi)
curl -X POST "http://127.0.0.1:8000/reports?seconds=2"    answers at once, with a uuid
curl http://127.0.0.1:8000/reports/UUID                   tells what became of it
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    execute_from_command_line(sys.argv)

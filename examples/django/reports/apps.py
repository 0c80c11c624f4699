from django.apps import AppConfig

import autocron


class ReportsConfig(AppConfig):
    name = "reports"

    def ready(self) -> None:
        autocron.start("django-example.db")

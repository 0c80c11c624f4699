from django.urls import path
from reports import views

urlpatterns = [
    path("reports", views.order_report),
    path("reports/<str:uuid>", views.show_report),
]

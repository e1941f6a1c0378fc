"""Indexes of the pages: what came until then, and what became of an object.

They take about a second for each million of rows, in which nothing is written to the table: readers of streams wait for it
as for any lock, and spend no try. Where that is too long, make them by hand before, with CREATE INDEX CONCURRENTLY and the
SQL that ``sqlmigrate`` shows, then run ``migrate --fake tom_alertstreams_ingest 0003``.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tom_alertstreams_ingest', '0002_target_positions'),
        ('tom_targets', '0031_basetarget_shared_by_basetarget_shared_from'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='targetalert',
            index=models.Index(fields=['created'], name='target_alert_came'),
        ),
        migrations.AddIndex(
            model_name='targetalert',
            index=models.Index(fields=['object_id'], name='target_alert_object'),
        ),
    ]

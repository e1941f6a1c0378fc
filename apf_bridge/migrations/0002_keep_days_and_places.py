from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('apf_bridge', '0001_outbox'),
    ]

    operations = [
        migrations.AddField(
            model_name='outboxmessage',
            name='partition',
            field=models.PositiveIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='outboxmessage',
            name='timestamp',
            field=models.BigIntegerField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='outlet',
            name='keep_days',
            field=models.FloatField(default=7.0),
        ),
        migrations.AddIndex(
            model_name='outboxmessage',
            index=models.Index(condition=models.Q(('state', 'refused')), fields=['outlet'], name='apf_outbox_refused'),
        ),
    ]

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('apf_bridge', '0002_keep_days_and_places'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='outboxmessage',
            index=models.Index(condition=models.Q(('state', 'pending')), fields=['outlet', 'producer', 'id'], name='apf_outbox_waiting'),
        ),
        migrations.RemoveIndex(
            model_name='outboxmessage',
            name='apf_outbox_pending',
        ),
    ]


import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('tom_alertstreams', '0002_fuse_gaps_topic_ids'),
    ]

    operations = [
        migrations.CreateModel(
            name='LetterAction',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('replay', 'replayed'), ('dismiss', 'dismissed')], max_length=10)),
                ('who', models.CharField(max_length=255)),
                ('started', models.DateTimeField(db_index=True, default=django.utils.timezone.now)),
                ('finished', models.DateTimeField(blank=True, null=True)),
                ('chosen', models.JSONField(default=dict)),
                ('total', models.PositiveIntegerField(default=0)),
                ('became', models.JSONField(blank=True, default=dict)),
                ('left', models.JSONField(blank=True, default=dict)),
            ],
        ),
        migrations.AddField(
            model_name='streamrun',
            name='rate',
            field=models.FloatField(blank=True, null=True),
        ),
        migrations.AddField(
            model_name='streamrun',
            name='received',
            field=models.BigIntegerField(default=0),
        ),
        migrations.AddField(
            model_name='streamrun',
            name='topics',
            field=models.JSONField(blank=True, default=dict),
        ),
        migrations.CreateModel(
            name='Alarm',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('stream', models.CharField(max_length=100)),
                ('kind', models.CharField(choices=[('down', 'does not run'), ('fuse', 'stopped by its fuse'), ('silent', 'brings nothing'), ('letters', 'dead letters grow')], max_length=10)),
                ('reason', models.TextField(blank=True)),
                ('began', models.DateTimeField(default=django.utils.timezone.now)),
                ('told', models.DateTimeField(blank=True, null=True)),
                ('over', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('over__isnull', True)), fields=('stream', 'kind'), name='alertstreams_alarm_once')],
            },
        ),
        migrations.AlterField(
            model_name='streamrun',
            name='state',
            field=models.CharField(choices=[('starting', 'starting'), ('running', 'running'), ('no_topic', 'finds no topic'), ('waiting', 'waiting'), ('stopped', 'stopped'), ('down', 'down'), ('stuck', 'stuck in one alert'), ('fuse', 'stopped by its fuse'), ('taken', 'taken over by another database'), ('gap', 'stopped at a gap')], default='starting', max_length=10),
        ),
    ]
